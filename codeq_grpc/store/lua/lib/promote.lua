-- Makes up to `limit` scheduled tasks that are due claimable; gives how many. Those that a purge
-- has cancelled wait for the sweeper, out of the way of others.
local AWHILE = 60000
local function promote(limit)
  local ids, number = redis.call('ZRANGEBYSCORE', z, '-inf', Q.now, 'LIMIT', 0, limit), 0
  for i, row in ipairs(read_rows(ids)) do
    if row and row.purged then
      put(added, z, Q.now + AWHILE, ids[i])
    elseif row and row[STATE] == SCHEDULED and row[TIME] > Q.now then
      put(added, z, row[TIME], ids[i])
    elseif row and row[STATE] == SCHEDULED then
      move(ids[i], row, PENDING, row[TIME])
      number = number + 1
    else
      put(gone, z, ids[i])
    end
  end
  return number
end
