# releases, targets, weights, layouts, rollback
$(eval $(call module,deploy,base savedmodel fingerprint runtime runtime/runner access repo validate hooks))
