# programs on events
$(eval $(call module,hooks,base access repo))
