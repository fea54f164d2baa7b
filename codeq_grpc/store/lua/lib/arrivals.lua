-- A task as the enqueue script gets it. `attempts` is for one that does not say.
local INVALID = 32768 -- among the flags of a head, and of no row
local function read_task(at, attempts)
  local head = ARGV[at]
  local flags, priority, max, lease, rest, when, from = struct.unpack('>I2BBI4I4i8', head)
  if priority == 255 then priority = Q.priority < 255 and Q.priority or 5 end
  local time = when > 0 and when or Q.now - when
  local body = ARGV[at + 1]
  local row = {
    0, flags, priority, 0, max > 0 and max or attempts, 0, #body, rest, lease, 0,
    math.max(time, Q.now), Q.now, '', '',
  }
  row[FIXED], row[CLAIM] = head:sub(from), ''
  local new, more, place = { row = row, body = body, id = nil, word = nil }, ARGV[at + 2], 1
  if more == '' then
    row[STATE] = row[TIME] > Q.now and SCHEDULED or PENDING
    return new
  end
  if has(row, HAS_IDEMPOTENCY) then
    new.digest = more:sub(1, 16)
    local ttl
    ttl, new.policy, place = struct.unpack('>I8B', more, 17)
    new.window = ttl > 0 and Q.now + ttl or 0
  end
  if has(row, HAS_LABELS) then
    local length = struct.unpack('>I2', more, place)
    new.text = more:sub(place + 2, place + 1 + length)
    new.labels, place = labels_of(new.text), place + 2 + length
  end
  new.parents = place <= #more and more:sub(place)
  row[STATE] = new.parents and BLOCKED or row[TIME] > Q.now and SCHEDULED or PENDING
  return new
end
