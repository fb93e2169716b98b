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
	uint32_t count, used;
	uint32_t iface; // being read
	uint32_t cut;   // frames larger than the space that was left
};

// ks_read reads what the n handles hold into b, waiting at most wait_ms for
// the first frame. *from is the handle to begin with, so that a busy interface
// starves no other. It returns 0, or -1 with *failed set to the index of the
// handle that failed and *status to what libpcap said.
int ks_read(pcap_t **handles, int n, int *from, int wait_ms, struct ks_batch *b, int *failed, int *status);
