#include "batch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define KS_MAX_HANDLES 64

static void take(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes) {
	struct ks_batch *b = (struct ks_batch *)user;
	uint32_t n = h->caplen;
	if (n > b->size - b->used) {
		n = b->size - b->used;
		b->cut++;
	}
	struct ks_frame *f = &b->frames[b->count++];
	f->time = (int64_t)h->ts.tv_sec * 1000000000 + h->ts.tv_usec; // nanosecond precision was asked for
	f->offset = b->used;
	f->caplen = n;
	f->len = h->len;
	f->iface = b->iface;
	memcpy(b->buffer + b->used, bytes, n);
	b->used += n;
}

// drain reads each handle once, without waiting.
static int drain(pcap_t **handles, int n, int *from, struct ks_batch *b, int *failed, int *status) {
	for (int k = 0; k < n && b->count < b->max_frames; k++) {
		int i = (*from + k) % n;
		b->iface = i;
		int got = pcap_dispatch(handles[i], b->max_frames - b->count, take, (u_char *)b);
		if (got < 0) {
			*failed = i;
			*status = got;
			return -1;
		}
	}
	*from = (*from + 1) % n;
	return 0;
}

int ks_read(pcap_t **handles, int n, int *from, int wait_ms, struct ks_batch *b, int *failed, int *status) {
	b->count = b->used = b->cut = 0;
	if (drain(handles, n, from, b, failed, status) < 0)
		return -1;
	if (b->count > 0)
		return 0;
	struct pollfd fds[KS_MAX_HANDLES];
	for (int i = 0; i < n; i++) {
		fds[i].fd = pcap_get_selectable_fd(handles[i]);
		fds[i].events = POLLIN;
		fds[i].revents = 0;
	}
	if (poll(fds, n, wait_ms) < 0 && errno != EINTR) {
		*failed = 0;
		*status = PCAP_ERROR;
		return -1;
	}
	return drain(handles, n, from, b, failed, status);
}
