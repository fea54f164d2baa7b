#!lua flags=no-writes
-- Counts the tasks of one queue that have not ended.
-- KEYS: s m t d c a
-- ARGV: none
-- Reply: OK, how many
-- @include totals
return { 'OK', unended() }
