-- SPDX-License-Identifier: GPL-2.0-or-later
-- LuaJIT's FFI: C calls from compiled code, C data, and callbacks, for which it writes thunks of machine code.
local ffi = require("ffi")
ffi.cdef [[
  size_t strlen(const char *);
  int abs(int);
  double sqrt(double);
  void qsort(void *, size_t, size_t, int (*)(const void *, const void *));
  struct point { int x, y; };
]]
local total = 0
for i = 1, 2000 do total = total + tonumber(ffi.C.strlen("hello")) + ffi.C.abs(-i) + ffi.C.sqrt(i * i) end
print(total)

local points = ffi.new("struct point[200]")
for i = 0, 199 do points[i].x, points[i].y = (i * 37) % 200, i end
local calls = 0
local compare = ffi.cast("int (*)(const void *, const void *)", function(a, b)
  calls = calls + 1
  return ffi.cast("const struct point *", a).x - ffi.cast("const struct point *", b).x
end)
ffi.C.qsort(points, 200, ffi.sizeof("struct point"), compare)
compare:free()
local sorted = true
for i = 0, 199 do sorted = sorted and points[i].x == i end
print(sorted, calls > 200)

-- Callbacks made and freed over and over: their slots are written again.
local made = 0
for i = 1, 50 do
  local callback = ffi.cast("int (*)(int)", function(n) return n + i end)
  made = made + callback(1)
  callback:free()
end
print(made)

local buffer = ffi.new("uint8_t[4096]")
for round = 1, 20 do for i = 0, 4095 do buffer[i] = buffer[i] + i * round end end
local sum = 0
for i = 0, 4095 do sum = sum + buffer[i] end
print(sum)
