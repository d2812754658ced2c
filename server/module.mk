# the verbs of one store over HTTP
$(eval $(call module,server,base savedmodel fingerprint runtime runtime/runner access repo/unpack repo validate hooks deploy service))
