"""What is held against what the files use: no circles, no edges between rooms that are not allowed, no crowded folders."""

import collections

# Files beside the rooms of a crate that are none: what it is made of.
CRATES = ("lib.rs", "main.rs")


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


class House:
    """A folder of rooms, each a folder in it, with those that it may use beside itself and what it has within.

    Rooms under the name "*" may be used by all others; a house that has such has a room for each file.
    """

    def __init__(self, folder, allowed):
        self.folder = folder
        self.allowed = {room: used for room, used in allowed.items() if room != "*"}
        self.below, self.whole = allowed.get("*", []), "*" in allowed
        self.is_crate = folder.endswith("/src")

    def within(self, file):
        """The folder of this one that a file is in, or is the door of; none for what is elsewhere, or in no folder of it."""
        if not file.is_relative_to(self.folder):
            return None
        path = file.relative_to(self.folder)
        if (whole := str(path.with_suffix(""))) in self.allowed:
            return whole
        return path.parts[0] if len(path.parts) > 1 else None

    def room(self, file):
        """The same, where the table knows that folder."""
        folder = self.within(file)
        return folder if folder in self.allowed else None

    def complaints(self, uses, files):
        taken = set()
        for use in uses:
            user, used = self.room(use.file), self.room(use.target)
            if user and used and user != used:
                taken.add((user, used))
                if (used not in self.below or user in self.below) and used not in self.allowed[user]:
                    yield f"{use.file}:{use.line}: {user}/ may not use {used}/, of which this is: {use.name}"
        order = list(self.allowed)
        for user, used in sorted(taken):
            if used in self.below and order.index(user) < order.index(used):
                yield f"rooms.toml: {self.folder}: {used}/ has to come before {user}/, which uses it"
        for user, folders in self.allowed.items():
            for used in folders:
                if used not in order[: order.index(user)]:
                    yield f"rooms.toml: {self.folder}: {used}/ has to come before {user}/, which uses it"
                if (user, used) not in taken:
                    yield f"rooms.toml: {self.folder}: {user}/ uses nothing of {used}/"
        for file in files:
            folder = self.within(file)
            if folder and folder not in self.allowed:
                yield f"{file}: rooms.toml has no room {folder}/ in {self.folder}"
            elif not folder and file.is_relative_to(self.folder) and (self.whole or self.is_crate) and file.name not in CRATES:
                yield f"{file}: rooms.toml has no room {file.stem} in {self.folder}"


def named(uses, kinds):
    """Complaints of uses of what is in a folder of a room of kinds by others than the room's own files and the list of them."""
    for room, listing in kinds.items():
        for use in uses:
            is_one = use.target.is_relative_to(room) and len(use.target.relative_to(room).parts) > 1
            if is_one and not use.file.is_relative_to(room) and str(use.file) != listing:
                yield f"{use.file}:{use.line}: only {room} and {listing} may name one of its folders, of which this is: {use.name}"


def crowded(files, most, more):
    """Complaints of folders with more files than `most`, or than `more` says of them; and of those that have fewer by now.

    The door of a folder (`catalog.ex` beside `catalog/`) counts for that.
    """
    folders = {parent for file in files for parent in file.parents}
    counts = collections.Counter(str(door if (door := file.with_suffix("")) in folders else file.parent) for file in files)
    for folder, count in sorted(counts.items()):
        if count > more.get(folder, most):
            yield f"{folder}: {count} files, more than {more.get(folder, most)}"
    for folder, allowed in more.items():
        if counts[folder] < allowed:
            yield f"rooms.toml: {folder} has {counts[folder]} files by now: so many are allowed from now on"
