"""Imported last by the process that servers are forked off: hides what it has imported, some 250,000 objects, from the
garbage collectors of the servers. Each would look at all of them whenever it runs out of memory, and copy them.
"""

import gc

gc.collect()
gc.freeze()
