-- For the scripts as the store receives them: includes resolved, the shebang line still there.
std = "lua51"
read_globals = {"redis", "cjson", "cmsgpack", "struct", "bit", "KEYS", "ARGV"}
max_line_length = 100

-- A fragment may bring functions that a script does not use; a script's own must all be used.
ignore = {}
local fragments = io.popen("cat codeq_grpc/store/lua/lib/*.lua"):read("*a")
for name in fragments:gmatch("local function ([%w_]+)") do
  table.insert(ignore, "211/" .. name)
end
