"""HTTP itself: the kinds of request, their ids, clients that leave, JSON that always encodes."""
