"""The tree of topic filters: who gets a message published on a topic (section 4.7)."""

from collections.abc import Iterator

from headwater_control.edges.broker.groups import Group, Membership


class Branch:
    """One level of the tree; `own` and `groups` belong to the filter that ends here."""

    __slots__ = ("below", "groups", "own")

    def __init__(self) -> None:
        self.below: dict[str, Branch] = {}
        self.own: dict[str, Membership] = {}  # by client id
        self.groups: dict[str, Group] = {}  # by share name

    @property
    def empty(self) -> bool:
        """Say whether nothing needs this branch."""
        return not (self.below or self.own or self.groups)


class Routes:
    """Finding costs the number of levels and of filters that match so far, not the number of filters."""

    def __init__(self) -> None:
        self._root = Branch()

    def grow(self, topic_filter: str) -> Branch:
        """Find the branch of a filter, making it if need be."""
        branch = self._root
        for level in topic_filter.split("/"):
            branch = branch.below.setdefault(level, Branch()) if level not in branch.below else branch.below[level]
        return branch

    def prune(self, topic_filter: str) -> None:
        """Cut off what a filter no longer needs."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            if level not in path[-1].below:
                return
            path.append(path[-1].below[level])
        for branch, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            if not branch.below[level].empty:
                return
            del branch.below[level]

    def match(self, topic: str) -> Iterator[Branch]:
        """Give the branches of all filters that cover a topic. Leading wildcards don't cover `$…` [MQTT-4.7.2-1]."""
        wild = not topic.startswith("$")
        reached = [self._root]
        for level in topic.split("/"):
            following = []
            for branch in reached:
                below = branch.below
                if wild:
                    if "#" in below:
                        yield below["#"]
                    if "+" in below:
                        following.append(below["+"])
                if level in below:
                    following.append(below[level])
            reached, wild = following, True
            if not reached:
                return
        for branch in reached:
            yield branch
            if "#" in branch.below:  # `sport/#` covers `sport` too
                yield branch.below["#"]
