# archives: the process that reads them, and the client that starts it
$(eval $(call module,repo/unpack,base))
