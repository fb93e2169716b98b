#include <pcap/pcap.h>
#include <stdint.h>

// A ks_frame says where a frame lies in the batch's buffer.
struct ks_frame {
	int64_t time; // Unix nanoseconds
	uint32_t offset, caplen, len, iface;
};

// ks_batch is what one ks_read fills.
struct ks_batch {
	struct ks_frame *frames;
	uint8_t *buffer;
	uint32_t max_frames, size; // of the two above
	uint32_t snaplen;          // the batch is full when less than this is left
	uint32_t count, used;
	uint32_t iface; // being read
	pcap_t *handle; // its handle
};

// ks_read reads what the n handles hold into b, waiting at most wait_ms for
// the first frame. Handles that are NULL are left out. *from is the handle to
// begin with, so that a busy interface starves no other. It returns 0, or -1
// with *failed set to the index of the handle that failed; what was read before
// is in b.
int ks_read(pcap_t **handles, int n, int *from, int wait_ms, struct ks_batch *b, int *failed);

// ks_rebind binds a handle's socket, and with it its ring and filter, to the
// interface that has this name now. It returns 0 or an errno.
int ks_rebind(pcap_t *h, const char *name);
