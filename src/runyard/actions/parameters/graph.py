"""Which value needs which. Owns the dependency graph of templates: its order, its gaps and its cycles."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runyard.actions.errors import ParameterUnresolved


@dataclass(slots=True)
class Graph:
    """Names, and for each the names that it needs. A name that is needed but never added is a gap."""

    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, name: str, needs: Iterable[str] = ()) -> None:
        """Add a name, or replace what it needs."""
        self.needs[name] = tuple(dict.fromkeys(needs))

    def order(self) -> list[str]:
        """Return all names, each after those that it needs. Raises ParameterUnresolved for gaps and cycles."""
        for wanted in self.needs.values():
            for name in wanted:
                if name not in self.needs:
                    raise ParameterUnresolved(f'Dependency unsatisfied in variable "{name}"')
        ordered = self._sorted()
        if len(ordered) < len(self.needs):
            names = ", ".join(sorted(in_cycles(self.needs)))
            raise ParameterUnresolved(
                f"Cyclic dependency found in the following variables: {names}. "
                "Likely the variable is referencing itself"
            )
        return ordered

    def _sorted(self) -> list[str]:
        """Take names whose needs are met, in the order in which they were added, until none is left or all wait."""
        open_needs = {name: len(needs) for name, needs in self.needs.items()}
        needed_by: dict[str, list[str]] = {name: [] for name in self.needs}
        for name, needs in self.needs.items():
            for needed in needs:
                needed_by[needed].append(name)
        ready = deque(name for name, count in open_needs.items() if count == 0)
        ordered: list[str] = []
        while ready:
            name = ready.popleft()
            ordered.append(name)
            for waiting in needed_by[name]:
                open_needs[waiting] -= 1
                if open_needs[waiting] == 0:
                    ready.append(waiting)
        return ordered


def in_cycles(needs: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the names that can reach themselves: the strongly connected components that hold a cycle.

    Tarjan's algorithm without recursion, since a caller chooses how long the chain is.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    component: list[str] = []
    held: set[str] = set()
    found: set[str] = set()
    for root in needs:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        component.append(root)
        held.add(root)
        path = [(root, iter(needs[root]))]
        while path:
            name, following = path[-1]
            step = next((other for other in following if other in needs), None)
            if step is None:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[name])
                if low[name] == index[name]:
                    found |= _close(name, component, held, needs)
            elif step not in index:
                index[step] = low[step] = len(index)
                component.append(step)
                held.add(step)
                path.append((step, iter(needs[step])))
            elif step in held:
                low[name] = min(low[name], index[step])
    return found


def _close(name: str, component: list[str], held: set[str], needs: Mapping[str, Iterable[str]]) -> set[str]:
    members = component[component.index(name) :]
    del component[-len(members) :]
    held.difference_update(members)
    return set(members) if len(members) > 1 or name in needs[name] else set()
