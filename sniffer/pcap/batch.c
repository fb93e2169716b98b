#include "batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define KS_MAX_HANDLES 64

static void take(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes) {
	struct ks_batch *b = (struct ks_batch *)user;
	uint32_t n = h->caplen;
	if (n > b->size - b->used)
		n = b->size - b->used; // only where libpcap gives more than the snaplen
	struct ks_frame *f = &b->frames[b->count++];
	f->time = (int64_t)h->ts.tv_sec * 1000000000 + h->ts.tv_usec; // nanosecond precision was asked for
	f->offset = b->used;
	f->caplen = n;
	f->len = h->len;
	f->iface = b->iface;
	memcpy(b->buffer + b->used, bytes, n);
	b->used += n;
	if (b->size - b->used < b->snaplen)
		pcap_breakloop(b->handle);
}

static int full(const struct ks_batch *b) {
	return b->count >= b->max_frames || b->size - b->used < b->snaplen;
}

// drain reads each handle once, without waiting.
static int drain(pcap_t **handles, int n, int *from, struct ks_batch *b, int *failed) {
	for (int k = 0; k < n && !full(b); k++) {
		int i = (*from + k) % n;
		if (!handles[i])
			continue;
		b->iface = i;
		b->handle = handles[i];
		int got = pcap_dispatch(handles[i], b->max_frames - b->count, take, (u_char *)b);
		if (got < 0 && got != PCAP_ERROR_BREAK) {
			*failed = i;
			return -1;
		}
	}
	*from = (*from + 1) % n;
	return 0;
}

int ks_read(pcap_t **handles, int n, int *from, int wait_ms, struct ks_batch *b, int *failed) {
	b->count = b->used = 0;
	if (drain(handles, n, from, b, failed) < 0)
		return -1;
	if (b->count > 0)
		return 0;
	struct pollfd fds[KS_MAX_HANDLES];
	for (int i = 0; i < n; i++) {
		fds[i].fd = handles[i] ? pcap_get_selectable_fd(handles[i]) : -1; // poll ignores -1
		fds[i].events = POLLIN;
		fds[i].revents = 0;
	}
	// An error of poll (EINTR) only ends the wait early.
	if (poll(fds, n, wait_ms) <= 0)
		return 0;
	return drain(handles, n, from, b, failed);
}

int ks_rebind(pcap_t *h, const char *name) {
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	to.sll_ifindex = if_nametoindex(name);
	if (to.sll_ifindex == 0)
		return errno;
	int fd = pcap_fileno(h);
	if (bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
		return errno;
	int err = 0;
	socklen_t len = sizeof err;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) // also clears the loss of the old one
		return errno;
	return err;
}
