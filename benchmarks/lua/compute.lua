-- SPDX-License-Identifier: GPL-2.0-or-later
-- Owns the steady state of a JIT: a few hot loops, compiled once, that run for seconds. The output is the same everywhere.
local bit = require("bit")

local function mandelbrot(size, limit)
  local inside = 0
  for row = 0, size - 1 do
    local ci = 2 * row / size - 1
    for column = 0, size - 1 do
      local cr = 3 * column / size - 2
      local zr, zi, steps = 0, 0, 0
      while steps < limit and zr * zr + zi * zi < 4 do
        zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
        steps = steps + 1
      end
      if steps == limit then inside = inside + 1 end
    end
  end
  return inside
end

local function sieve(limit)
  local composite, count = {}, 0
  for n = 2, limit do
    if not composite[n] then
      count = count + 1
      for multiple = n * n, limit, n do composite[multiple] = true end
    end
  end
  return count
end

local function xorshift(steps)
  local state = 2463534242
  for _ = 1, steps do
    state = bit.bxor(state, bit.lshift(state, 13))
    state = bit.bxor(state, bit.rshift(state, 17))
    state = bit.bxor(state, bit.lshift(state, 5))
  end
  return bit.tohex(state)
end

local scale = tonumber(arg[1]) or 1
print(mandelbrot(400 * scale, 200), sieve(1000000 * scale), xorshift(100000000 * scale))
