-- SPDX-License-Identifier: GPL-2.0-or-later
-- Strings, tables, closures, coroutines, errors and the collector, all in loops hot enough to compile.
local words = {}
for i = 1, 3000 do words[i] = ("w%05d"):format((i * 7919) % 3001) end
table.sort(words)
print(words[1], words[1500], words[3000], #table.concat(words, ","))

local text = ("the quick brown fox "):rep(200)
local letters = {}
for c in text:gmatch("%a") do letters[c] = (letters[c] or 0) + 1 end
print(letters.o, letters.q, text:gsub("quick", "slow"):len(), (text:find("fox", 2000)))

local Stack = {}
Stack.__index = Stack
function Stack.new() return setmetatable({ n = 0 }, Stack) end
function Stack:push(v) self.n = self.n + 1; self[self.n] = v end
function Stack:pop() local v = self[self.n]; self[self.n] = nil; self.n = self.n - 1; return v end
local stack, sum = Stack.new(), 0
for i = 1, 10000 do stack:push(i) if i % 3 == 0 then sum = sum + stack:pop() end end
print(stack.n, sum)

local function counter() local n = 0 return function() n = n + 1 return n end end
local first, second = counter(), counter()
for _ = 1, 1000 do first() end
print(first(), second())

local generate = coroutine.wrap(function() local a, b = 0, 1 while true do coroutine.yield(a) a, b = b, (a + b) % 1000007 end end)
local last
for _ = 1, 2000 do last = generate() end
print(last)

local caught = 0
for i = 1, 2000 do
  local ok = pcall(function() if i % 7 == 0 then error("seven") end return i end)
  if not ok then caught = caught + 1 end
end
print(caught)

local alive = setmetatable({}, { __mode = "v" })
for i = 1, 5000 do alive[i % 100] = { i, tostring(i) } if i % 1000 == 0 then collectgarbage() end end
collectgarbage()
local left = 0
for _ in pairs(alive) do left = left + 1 end
print(left)
