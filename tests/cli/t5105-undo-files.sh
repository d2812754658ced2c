#!/bin/sh
# A rollback goes to the files that its promotion rendered, looked up or rendered again.
. "$(dirname "$0")/lib.sh"

needs python3
rows() { python3 -c "import sqlite3; c = sqlite3.connect('store/catalogue.db'); print(c.execute('$1').fetchone()); c.commit()"; }

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v1" other
sl promote other@1 --to production
sl promote digits@2 --to production
sl rollback digits@production
ok "rolled back"
found=$(readlink web/config)
sl promote digits@2 --to production --again
rows "DELETE FROM undo_files RETURNING 1" >gone.txt
check "a promotion says where a rollback leads" grep -q 1 gone.txt
sl rollback digits@production
ok "rolled back without a row"
is "to the same files" "$(readlink web/config)" "$found"
sl target check web
ok "which are those of the release"

sl promote digits@2 --to production --again
chmod -R u+w "web/$found"
rm -r "web/$found"
sl rollback digits@production
ok "rolled back where the files are gone"
is "they are made again" "$(readlink web/config)" "$found"
check "whole" grep -q other web/config/models.config

sl promote digits@2 --to production --again
sl target set web --serving_root /elsewhere
ok "the server sees the target elsewhere"
is "what was known is forgotten" "$(rows 'SELECT count(*) FROM undo_files')" "(0,)"
sl rollback digits@production
check "so a rollback renders it" grep -q /elsewhere/other web/config/models.config
sl target check web
ok "as the release says"
finish
