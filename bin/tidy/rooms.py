"""What is held against what the files use: no circles, no edges between folders that are not allowed, no crowded folders."""

import collections


def circles(uses):
    """For each set of files that reach each other, a shortest circle of uses through its first file."""
    edges = collections.defaultdict(dict)
    for use in uses:
        edges[use.file].setdefault(use.target, use)
    for group in components(edges):
        if len(group) > 1:
            yield group, shortest(edges, group, min(group))


def components(edges):
    """Strongly connected components (Tarjan, 1972), without recursion."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []
    for root in list(edges):
        if root in index:
            continue
        work = [(root, iter(list(edges[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            target = next(targets, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = set()
                    while node not in group:
                        group.add(stack[-1])
                        on_stack.discard(stack.pop())
                    found.append(group)
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                on_stack.add(target)
                work.append((target, iter(list(edges.get(target, {})))))
            elif target in on_stack:
                low[node] = min(low[node], index[target])
    return found


def shortest(edges, group, start):
    """The uses of a shortest way from `start` back to it, within the group."""
    ways = collections.deque([(start, [])])
    seen = set()
    while ways:
        node, way = ways.popleft()
        for target, use in edges.get(node, {}).items():
            if target == start:
                return [*way, use]
            if target in group and target not in seen:
                seen.add(target)
                ways.append((target, [*way, use]))
    return []


def forbidden(uses, allowed):
    """Uses of one folder by another that the table does not allow."""
    for use in uses:
        user, used = str(use.file.parent), str(use.target.parent)
        if user != used and used not in allowed.get(user, ()):
            yield use


def unneeded(uses, allowed):
    """Edges of the table that nothing takes."""
    taken = {(str(use.file.parent), str(use.target.parent)) for use in uses}
    for user, folders in allowed.items():
        for used in folders:
            if (user, used) not in taken:
                yield user, used


def crowded(files, most):
    """Folders with more files than `most`."""
    counts = collections.Counter(str(file.parent) for file in files)
    return [(folder, count) for folder, count in sorted(counts.items()) if count > most]
