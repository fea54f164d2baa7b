-- Makes up to `limit` scheduled tasks that are due claimable; gives how many.
local function promote(limit)
  local ids, number = redis.call('ZRANGEBYSCORE', z, '-inf', Q.now, 'LIMIT', 0, limit), 0
  for i, row in ipairs(read_rows(ids)) do
    if row and row.purged then
      move(ids[i], row, CANCELLED, row[TIME])
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
