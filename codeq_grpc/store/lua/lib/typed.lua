-- Keys as such: one of another type ends every script, one that the store lets expire is lost. The
-- latter stays, if MEND says so. What is found goes to a function called tell.
local function check_key(kind, where, key)
  local found = redis.call('TYPE', key).ok
  if found == 'none' then return true end
  if found ~= kind then tell('wrong_type', where, found) end
  if redis.call('PTTL', key) >= 0 then
    tell('expiring', where, '')
    if MEND then redis.call('PERSIST', key) end
  end
  return found == kind
end
