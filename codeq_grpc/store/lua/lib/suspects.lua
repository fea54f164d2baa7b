-- What seemed wrong in several looks, and is so when nothing has happened to the task since.
-- Needs m p x r.
local DEEP = 100000 -- how far from its head a list is searched for an id that stands there twice
local SUSPECTS = {}
function SUSPECTS.UNLISTED(id, row)
  if row[WAS] ~= PENDING or has(row, PARKED) then return end
  if (fixed(row).expiry or BEYOND) <= Q.now then return end
  tell('unlisted', 'r' .. row[PRIORITY], id)
  set_flag(row, TWICE, true)
  put(heads, row[PRIORITY], id)
  ready = ready + 1
  change(id, row)
end

function SUSPECTS.TWICE(id, row)
  if row[WAS] ~= PENDING or has(row, TWICE) then return end
  local places = redis.call('LPOS', r[row[PRIORITY]], id, 'COUNT', 2, 'MAXLEN', DEEP)
  if #places < 2 then return end
  tell('twice', 'r' .. row[PRIORITY], id)
  set_flag(row, TWICE, true)
  correct(id, row)
end

function SUSPECTS.UNFOLLOWED(id, row, parent)
  if row[WAS] ~= BLOCKED or redis.call('ZSCORE', x, 'B' .. id) then return end
  if not (redis.call('HGET', p, id) or ''):find(parent, 1, true) then return end
  tell('unfollowed', 'x', id)
  owe('B', id)
end

local function check_suspects(is_so)
  local ids = {}
  for i = 6, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
  for i, row in ipairs(safe_rows(ids)) do
    local changed_at = tonumber(ARGV[3 * i + 4])
    if type(row) == 'table' and not row.purged and row[CHANGED] == changed_at then
      is_so(ids[i], row, ARGV[3 * i + 5])
    end
  end
end
