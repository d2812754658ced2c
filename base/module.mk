# errors, buffers, files that survive a crash, threads, processes, clock, JSON, SQL
$(eval $(call module,base,))
