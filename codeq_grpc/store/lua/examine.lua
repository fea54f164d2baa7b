#!lua flags=allow-oom
-- Looks at a part of a queue, tells what is wrong there and, if asked to, sets it right at once.
-- KEYS: s w h m b o z l y t d c a e g u ux v k kw p f x r
-- ARGV: 1 to mend, RESTORE to make tasks of bodies that none accounts for or DISCARD to remove
--   them, the server's max_attempts, error to keep of a task that cannot run, what to look at; if
--   that is a key, cursor and how much; if UNLISTED, TWICE or UNFOLLOWED, id, latest change and
--   a parent or '' of each task that seemed so
-- Reply: OK, now, cursor, how many it looked at; in a list what is wrong, with which key
--   and entry or id of each finding; in a list id, priority, latest change, 1 if it may stand twice
--   of each task that must stand in a list; in a list id, latest change and parents of each that
--   others must tell
-- @include queue
-- @include rows
-- @include wake
-- @include tell
-- @include write
-- @include keys
-- @include changes
-- @include flush
-- @include labels
-- @include sound
local MEND, MODE, ATTEMPTS, PROBLEM = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3]), ARGV[4]
-- @include verify
-- @include verify_rows
local HASHES = { m = m, b = b, o = o, u = u, k = k, p = p, g = g, h = h }
local SETS = {
  z = z, l = l, y = y, t = t, d = d, c = c, a = a, e = e, ux = ux, v = v, kw = kw, f = f, x = x,
}
-- @include traces
-- @include strays
-- @include suspects
local what, cursor, looked = ARGV[5], ARGV[6], 0

local function check_rows(found)
  local ids, packed = {}, {}
  for i = 1, #found, 2 do ids[#ids + 1], packed[#packed + 1] = found[i], found[i + 1] end
  if #ids > 0 then verify_all(ids, packed) end
end

local OWN = {
  m = check_rows, b = check_bodies, ux = check_windows, k = check_holders, h = check_receipts,
}
local function look(number)
  local found
  if HASHES[what] then
    found = redis.call('HSCAN', HASHES[what], cursor, 'COUNT', number)
  else
    found = redis.call('ZSCAN', SETS[what], cursor, 'COUNT', number)
  end
  cursor, looked = found[1], #found[2] / 2
  if OWN[what] then OWN[what](found[2]) else look_at(what, found[2]) end
end

if SUSPECTS[what] then check_suspects(SUSPECTS[what]) else look(tonumber(ARGV[7])) end
if MEND and #findings > 0 then flush() end
return { 'OK', Q.now, cursor, looked, findings, pending, blocked }
