-- SPDX-License-Identifier: GPL-2.0-or-later
-- Owns the opposite of compute.lua: new functions all the time, each compiled, patched (side exits) and thrown away, so
-- that most of the work is emission and cache maintenance. The output is the same everywhere.
local template = [[
  return function(n)
    local sum = %d
    for i = 1, n do
      if i %% %d == 0 then sum = sum + i elseif i %% %d == 0 then sum = sum - %d else sum = sum + 1 end
    end
    return sum
  end
]]

local generations = tonumber(arg[1]) or 500
local total = 0
for generation = 1, generations do
  local source = template:format(generation, 2 + generation % 5, 3 + generation % 7, generation % 11)
  total = total + assert(loadstring(source))()(400)
  if generation % 100 == 0 then
    jit.flush()
    collectgarbage()
  end
end
print(total)
