"""Counts LRU hits with libcachesim: budgets on the first line of standard input, then `object size` for each request."""
import sys

import libcachesim

lines = sys.stdin.read().splitlines()
requests = [tuple(map(int, line.split())) for line in lines[1:]]
for budget in map(int, lines[0].split()):
    cache = libcachesim.LRU(budget, hashpower=16)
    hits = 0
    for number, size in requests:
        hits += cache.get(libcachesim.Request(obj_size=size, obj_id=number + 1))
    print(hits)
