# who may do what, and the log of who did
$(eval $(call module,access,base))
