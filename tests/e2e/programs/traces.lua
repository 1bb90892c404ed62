-- SPDX-License-Identifier: GPL-2.0-or-later
-- Loops that compile, and inputs that leave the compiled path: side exits, side traces, code emitted again and again.
local function classify(n)
  if n % 15 == 0 then return "fizzbuzz" elseif n % 5 == 0 then return "buzz" elseif n % 3 == 0 then return "fizz" end
  return n
end
local counts = {}
for i = 1, 20000 do
  local what = classify(i)
  local key = type(what) == "number" and "number" or what
  counts[key] = (counts[key] or 0) + 1
end
print(counts.number, counts.fizz, counts.buzz, counts.fizzbuzz)

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print(fib(22))

-- One function, many types: each makes another trace of it.
local function add(a, b) return a + b end
local sum = 0
for _, step in ipairs { 1, 0.5, 1e10, -3, 2 ^ 53 } do
  for _ = 1, 300 do sum = add(sum, step) end
end
print(string.format("%.17g", sum))

local sieve, primes = {}, 0
for i = 2, 30000 do
  if not sieve[i] then
    primes = primes + 1
    for j = i * i, 30000, i do sieve[j] = true end
  end
end
print(primes)

-- Nested loops with a branch that turns after a while.
local x, y = 0, 0
for i = 1, 300 do
  for j = 1, 100 do
    if i < 200 then x = x + j else y = y + i * j end
    if (i * j) % 97 == 0 then x, y = y % 1000003, x % 1000003 end
  end
end
print(x, y)
