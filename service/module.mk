# each verb once: request in, authorise, do, record, reply out
$(eval $(call module,service,base savedmodel fingerprint runtime runtime/runner access repo validate hooks deploy))
