# the runtime's own process, and the client that talks to it
$(eval $(call module,runtime/runner,base savedmodel runtime))
