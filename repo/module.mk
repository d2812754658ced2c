# the content-addressed store and its catalogue
$(eval $(call module,repo,base savedmodel fingerprint access repo/unpack))
