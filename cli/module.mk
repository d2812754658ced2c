# one file a command: flags -> request, reply -> text or JSON
$(eval $(call module,cli,base savedmodel fingerprint runtime runtime/runner access repo validate hooks deploy service client))
