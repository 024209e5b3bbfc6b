"""The table of groups: see ``groups.pxd``."""

from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from h3py._speedups.block cimport counter_add64, fault_plans, faults_use, h3py_calloc, h3py_malloc
from h3py._speedups.core cimport Member, Roster
from h3py._speedups.marks cimport GROUP_EVERYONE

faults_use(fault_plans())

cdef enum:
    # Buckets of the first segment; each further one doubles the table.
    FIRST_BUCKETS = 256
    MAX_SEGMENTS = 24


cdef inline size_t group_size(const Core* core, uint32_t name_size) noexcept nogil:
    return sizeof(Group) + (core.pump_count - 1) * sizeof(Roster) + name_size


cdef int groups_init(Core* core) noexcept nogil:
    """The table, and the group of everyone; -1 without memory."""
    cdef GroupKey key
    core.buckets = <Group***> h3py_calloc(MAX_SEGMENTS, sizeof(Group**))
    if core.buckets == NULL:
        return -1
    core.buckets[0] = <Group**> h3py_calloc(FIRST_BUCKETS, sizeof(Group*))
    if core.buckets[0] == NULL:
        return -1
    core.bucket_count = FIRST_BUCKETS
    core.bucket_level = FIRST_BUCKETS
    memset(&key, 0, sizeof(key))
    key.name = b""
    key.kind = GROUP_EVERYONE
    core.everyone = group_new(core, &key)
    if core.everyone == NULL:
        return -1
    core.everyone.refs = 1
    group_insert(core, core.everyone)
    return 0


cdef void groups_free(Core* core) noexcept nogil:
    """Free every group; nothing refers to them any more."""
    cdef uint32_t at, segment
    cdef Group* group
    cdef Group* next_group
    if core.buckets == NULL:
        return
    if core.buckets[0] != NULL:
        for at in range(core.bucket_count):
            group = bucket(core, at)[0]
            while group != NULL:
                next_group = group.chain
                group_free(core, group)
                group = next_group
    for segment in range(<uint32_t> MAX_SEGMENTS):
        free(core.buckets[segment])
    free(core.buckets)
    core.buckets = NULL


cdef inline Group** bucket(Core* core, uint32_t at) noexcept nogil:
    cdef uint32_t first = FIRST_BUCKETS
    cdef uint32_t segment = 1
    if at < FIRST_BUCKETS:
        return &core.buckets[0][at]
    while at >= 2 * first:
        first *= 2
        segment += 1
    return &core.buckets[segment][at - first]


cdef inline Group** bucket_of(Core* core, uint64_t hash) noexcept nogil:
    """Linear hashing: buckets below the split use one bit more of the hash."""
    cdef uint32_t at = <uint32_t> (hash & (core.bucket_level - 1))
    if at < core.bucket_count - core.bucket_level:
        at = <uint32_t> (hash & (2 * core.bucket_level - 1))
    return bucket(core, at)


cdef void split_bucket(Core* core) noexcept nogil:
    """One bucket more: the next one in line is divided."""
    cdef uint32_t at = core.bucket_count - core.bucket_level
    cdef uint32_t segment = 1, first = FIRST_BUCKETS
    cdef Group** old_link
    cdef Group** new_link
    cdef Group* group
    while core.bucket_count >= 2 * first:
        first *= 2
        segment += 1
    if segment >= MAX_SEGMENTS:
        return
    if core.buckets[segment] == NULL:
        # Under the lock, once for each doubling: the system hands out a piece of this
        # size without touching it. Without memory the table stays as it is.
        core.buckets[segment] = <Group**> h3py_calloc(first, sizeof(Group*))
        if core.buckets[segment] == NULL:
            return
        counter_add64(&core.account.bytes, first * sizeof(Group*))
    old_link = bucket(core, at)
    core.bucket_count += 1
    new_link = bucket(core, core.bucket_count - 1)
    group = old_link[0]
    old_link[0] = NULL
    while group != NULL:
        if group.hash & core.bucket_level:
            new_link[0] = group
            new_link = &group.chain
        else:
            old_link[0] = group
            old_link = &group.chain
        group = group.chain
    old_link[0] = NULL
    new_link[0] = NULL
    if core.bucket_count == 2 * core.bucket_level:
        core.bucket_level *= 2


cdef Group* group_find(Core* core, const GroupKey* key) noexcept nogil:
    """The group of this kind and name, or NULL. Lock held."""
    cdef Group* group = bucket_of(core, key.hash)[0]
    while group != NULL:
        if (group.hash == key.hash and group.kind == key.kind and group.size == key.size
                and memcmp(group.name, key.name, key.size) == 0):
            return group
        group = group.chain
    return NULL


cdef Group* group_new(Core* core, const GroupKey* key) noexcept nogil:
    """A group that is in no table yet; NULL without memory. Needs no lock."""
    cdef Group* group = <Group*> h3py_malloc(group_size(core, key.size))
    if group == NULL:
        return NULL
    memset(group, 0, group_size(core, 0))
    group.hash = key.hash
    group.kind = key.kind
    group.size = <uint16_t> key.size
    group.name = <char*> group + group_size(core, 0)
    memcpy(group.name, key.name, key.size)
    counter_add64(&core.account.bytes, <int64_t> group_size(core, key.size))
    return group


cdef void group_free(Core* core, Group* group) noexcept nogil:
    """Free a group that is in no table (any more)."""
    cdef uint32_t i
    for i in range(core.pump_count):
        if group.rosters[i].room:
            counter_add64(&core.account.bytes,
                          -<int64_t> (group.rosters[i].room * sizeof(Member)))
            free(group.rosters[i].items)
    counter_add64(&core.account.bytes, -<int64_t> group_size(core, group.size))
    free(group)


cdef void group_insert(Core* core, Group* group) noexcept nogil:
    """Put a new group into the table. Lock held; its name is not in there."""
    cdef Group** at
    if core.group_count >= core.bucket_count:
        split_bucket(core)
    at = bucket_of(core, group.hash)
    group.chain = at[0]
    at[0] = group
    group.evicted = core.evicted_floor
    core.group_count += 1


cdef void take_out(Core* core, Group* group) noexcept nogil:
    cdef Group** link = bucket_of(core, group.hash)
    while link[0] != group:
        link = &link[0].chain
    link[0] = group.chain
    core.group_count -= 1
    group_free(core, group)


cdef void unlink_idle(Core* core, Group* group) noexcept nogil:
    if group.idle_back != NULL:
        group.idle_back.idle_next = group.idle_next
    else:
        core.idle_first = group.idle_next
    if group.idle_next != NULL:
        group.idle_next.idle_back = group.idle_back
    else:
        core.idle_last = group.idle_back
    group.idle = False
    core.idle_count -= 1


cdef void group_hold(Core* core, Group* group) noexcept nogil:
    """One reference more. Lock held."""
    if group.idle:
        unlink_idle(core, group)
    group.refs += 1


cdef void group_release(Core* core, Group* group) noexcept nogil:
    """One reference less; without any the group is kept for what it knows, or freed. Lock held."""
    group.refs -= 1
    if group.refs > 0:
        return
    if group.evicted <= core.evicted_floor:
        # It knows nothing that the floor does not say.
        take_out(core, group)
        return
    group.idle = True
    group.idle_next = NULL
    group.idle_back = core.idle_last
    if core.idle_last != NULL:
        core.idle_last.idle_next = group
    else:
        core.idle_first = group
    core.idle_last = group
    core.idle_count += 1
    if core.idle_count > core.max_idle:
        group = core.idle_first
        unlink_idle(core, group)
        if group.evicted > core.evicted_floor:
            core.evicted_floor = group.evicted
        take_out(core, group)
