# SPDX-License-Identifier: GPL-2.0-or-later
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
{ count[$1 % 7]++; sum += $2; text = text substr($3, 1, 1) }
END {
    for (i = 0; i < 7; i++) printf "%d:%d ", i, count[i]
    printf "\n%d %s %.6f %d\n", sum, length(text), sin(1) + exp(1), fib(15)
    n = split("the quick brown fox", words, / /)
    for (i = n; i > 0; i--) printf "%s ", toupper(words[i])
    print gensub(/(o)/, "<\\1>", "g", "foo boo"), strftime("%Y", 0, 1)
}
