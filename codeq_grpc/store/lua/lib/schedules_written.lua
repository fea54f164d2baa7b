-- Writes rows of schedules such that each is looked at in time whichever write is the last: what
-- comes earlier into `t` before the rows, what comes later after them. Needs m t.
local written, written_ids = {}, {}
local function keep(id, row)
  if not written[id] then written_ids[#written_ids + 1] = id end
  written[id] = row
end

local function write_schedules()
  if #written_ids == 0 then return end
  local scores = redis.call('ZMSCORE', t, unpack(written_ids))
  local sooner, rows, later, never = {}, {}, {}, {}
  for at, id in ipairs(written_ids) do
    local row, had = written[id], tonumber(scores[at] or nil)
    local time = look_at(row)
    if time == 0 then
      if had then never[#never + 1] = id end
    elseif time ~= had then
      local list = (not had or time < had) and sooner or later
      list[#list + 1], list[#list + 2] = score(time), id
    end
    rows[#rows + 1], rows[#rows + 2] = id, pack_schedule(row)
  end
  write('ZADD', t, sooner)
  write('HSET', m, rows)
  write('ZADD', t, later)
  write('ZREM', t, never)
end
