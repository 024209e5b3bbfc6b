"""Names to groups, metadata to pairs: see ``targets.pxd``."""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy, memset

from h3py._speedups.block cimport counter_add64, fault_plans, faults_use, h3py_malloc
from h3py._speedups.marks cimport GROUP_CHANNEL, GROUP_CLIENT, GROUP_EVERYONE, GROUP_USER
from h3py._speedups.groups cimport group_find, group_free, group_hold, group_insert, group_new

from h3py.errors import AllocationError

faults_use(fault_plans())

cdef enum:
    MAX_NAME = 0xFFFF
    MAX_GROUPS = 0xFFFF

_WORDS = {GROUP_USER: "users", GROUP_CHANNEL: "channels", GROUP_CLIENT: "clients"}


@cython.final
@cython.freelist(4)
cdef class GroupKeys:
    """The groups of one call. Freed with the object; groups that were not needed, too."""

    def __cinit__(self):
        self.keys = self.first_keys
        self.fresh = self.first_fresh
        self.groups = self.first_groups
        self.room = FIRST_KEYS

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.count):
            if self.fresh[i] != NULL:
                group_free(self.core, self.fresh[i])
        if self.keys != self.first_keys:
            PyMem_Free(self.keys)

    cdef int add(self, int kind, object names) except -1:
        """Add names of one kind; the same name twice is one group."""
        cdef GroupKey* key
        cdef Py_ssize_t size
        cdef const char* text
        cdef set seen = set()
        if isinstance(names, str):
            raise TypeError(f"{_WORDS[kind]} must be several names, not the str {names!r}")
        for name in names:
            if type(name) is not str:
                raise TypeError(
                    f"{_WORDS[kind]} must be str, not {type(name).__name__}")
            text = PyUnicode_AsUTF8AndSize(name, &size)
            if not 0 < size <= MAX_NAME:
                raise ValueError(
                    f"a name in {_WORDS[kind]} has {size} bytes; 1 to {MAX_NAME} may be")
            if name in seen:
                continue
            if self.count == self.room:
                if self.room >= MAX_GROUPS:
                    raise ValueError(f"more than {MAX_GROUPS} groups in one call")
                self.grow()
            seen.add(name)
            if self.names is None:
                self.names = []
            self.names.append(name)
            key = &self.keys[self.count]
            key.hash = <uint64_t> hash(name) * 4 + <uint64_t> kind
            key.name = text
            key.size = <uint32_t> size
            key.kind = <unsigned char> kind
            self.fresh[self.count] = NULL
            self.groups[self.count] = NULL
            self.count += 1
        return 0

    cdef int add_everyone(self) except -1:
        """The one group that has no name and is always there."""
        if self.count == self.room:
            self.grow()
        memset(&self.keys[self.count], 0, sizeof(GroupKey))
        self.keys[self.count].name = b""
        self.keys[self.count].kind = GROUP_EVERYONE
        self.fresh[self.count] = NULL
        self.groups[self.count] = NULL
        self.count += 1
        return 0

    cdef int grow(self) except -1:
        """Twice the room, in one piece: keys, then the groups that were made, then those found."""
        cdef uint32_t room = self.room * 2
        cdef GroupKey* keys = <GroupKey*> PyMem_Malloc(
            room * (sizeof(GroupKey) + 2 * sizeof(Group*)))
        cdef Group** fresh = <Group**> (keys + room)
        if keys == NULL:
            raise AllocationError("no memory for the names of groups")
        memcpy(keys, self.keys, self.count * sizeof(GroupKey))
        memcpy(fresh, self.fresh, self.count * sizeof(Group*))
        memcpy(fresh + room, self.groups, self.count * sizeof(Group*))
        if self.keys != self.first_keys:
            PyMem_Free(self.keys)
        self.keys = keys
        self.fresh = fresh
        self.groups = fresh + room
        self.room = room
        return 0

    cdef int find(self) noexcept nogil:
        """Look up every name; -1: some group has to be made first. Lock held."""
        cdef uint32_t i
        cdef int missing = 0
        for i in range(self.count):
            self.groups[i] = group_find(self.core, &self.keys[i])
            if self.groups[i] == NULL and self.fresh[i] == NULL:
                missing = -1
        return missing

    cdef void hold(self) noexcept nogil:
        """Take one reference to each group, after ``find`` had nothing missing. Lock still held."""
        cdef uint32_t i
        for i in range(self.count):
            if self.groups[i] == NULL:
                group_insert(self.core, self.fresh[i])
                self.groups[i] = self.fresh[i]
                self.fresh[i] = NULL
            group_hold(self.core, self.groups[i])

    cdef int make(self) except -1:
        """Make the groups that were missing. Without the lock."""
        cdef uint32_t i
        for i in range(self.count):
            if self.groups[i] == NULL and self.fresh[i] == NULL:
                self.fresh[i] = group_new(self.core, &self.keys[i])
                if self.fresh[i] == NULL:
                    raise AllocationError("no memory for a group")
        return 0


@cython.final
cdef class Pairs:
    """Key and value texts of an event's metadata or a filter, hashed; freed with the object."""

    def __dealloc__(self):
        PyMem_Free(self.pairs)

    cdef int add(self, str key, str value) except -1:
        cdef Pair* pair
        cdef Py_ssize_t size
        cdef void* at = PyMem_Realloc(self.pairs, (self.count + 1) * sizeof(Pair))
        if at == NULL:
            raise AllocationError("no memory for metadata")
        self.pairs = <Pair*> at
        pair = &self.pairs[self.count]
        pair.key = PyUnicode_AsUTF8AndSize(key, &size)
        pair.key_size = <uint32_t> size
        pair.value = PyUnicode_AsUTF8AndSize(value, &size)
        pair.value_size = <uint32_t> size
        pair.key_hash = <uint64_t> hash(key)
        pair.value_hash = <uint64_t> hash(value)
        if self.texts is None:
            self.texts = []
        self.texts.append(key)
        self.texts.append(value)
        self.text_bytes += pair.key_size + pair.value_size
        self.count += 1
        return 0


# Of an event without metadata: nothing is ever added to it.
cdef Pairs _NO_PAIRS = Pairs()


cdef Pairs metadata_pairs(object metadata):
    """The pairs of an event's metadata; TypeError unless all is str."""
    cdef Pairs pairs
    if not metadata:
        return _NO_PAIRS
    pairs = Pairs()
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must be str to str, not {key!r}: {value!r}")
        pairs.add(key, value)
    return pairs


cdef char* copy_pairs(Pairs pairs, Pair* out, char* text) noexcept:
    """Copy pairs and their texts; returns the end of those. Equal keys in a row share theirs."""
    cdef uint32_t i
    for i in range(pairs.count):
        out[i] = pairs.pairs[i]
        if i and pairs.pairs[i].key == pairs.pairs[i - 1].key:
            out[i].key = out[i - 1].key
        else:
            memcpy(text, pairs.pairs[i].key, pairs.pairs[i].key_size)
            out[i].key = text
            text += pairs.pairs[i].key_size
        memcpy(text, pairs.pairs[i].value, pairs.pairs[i].value_size)
        out[i].value = text
        text += pairs.pairs[i].value_size
    return text


cdef Filter* filter_new(Core* core, object where) except NULL:
    """A filter from a mapping of key to accepted values."""
    cdef Pairs pairs = Pairs()
    cdef Filter* made
    cdef size_t size
    for key, accepted in where.items():
        if isinstance(accepted, str):
            accepted = (accepted,)
        values = list(accepted)
        if not values:
            raise ValueError(f"where accepts no value at all for {key!r}")
        for value in values:
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"where must map str to str values, not {key!r}: {value!r}")
            pairs.add(key, value)
    if pairs.count == 0:
        raise ValueError("where has no condition: leave it out")
    size = sizeof(Filter) + pairs.count * sizeof(Pair) + pairs.text_bytes
    made = <Filter*> h3py_malloc(size)
    if made == NULL:
        raise AllocationError("no memory for a filter")
    made.pairs = <Pair*> (made + 1)
    made.pair_count = pairs.count
    made.bytes = <uint32_t> size
    copy_pairs(pairs, made.pairs, <char*> (made.pairs + pairs.count))
    counter_add64(&core.account.bytes, <int64_t> size)
    return made
