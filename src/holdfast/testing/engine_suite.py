"""The tests that any engine of the cluster tier must pass, for those who write one.

```python
from holdfast.testing.engine_suite import EngineSuite


class TestMine(EngineSuite):
    def engine(self, namespace, ttl=None):
        return MyEngine("db.example.org", namespace, ttl)
```

pytest collects the tests from that class; so does unittest if the class is a TestCase too. Each test runs in a new
namespace, and leaves its texts there. `holdfast.cluster.engines.contract` states the promises that are tested.
"""

from holdfast.cluster.engines.suite import EngineSuite as EngineSuite
from holdfast.cluster.engines.suite.bench import Bench as Bench
from holdfast.cluster.engines.suite.bench import Wakes as Wakes
from holdfast.cluster.engines.suite.changes import append as append
from holdfast.cluster.engines.suite.changes import count as count
from holdfast.cluster.engines.suite.changes import marks as marks
from holdfast.cluster.engines.suite.changes import put as put

# What repr() and pickles say is what users import.
for _public in (Bench, EngineSuite, append, count, marks, put):
    _public.__module__ = __name__
