// As forward.c, through io_uring without liburing: the writes of a round and the reads of the next go down in one call.
// A burst that comes back full doubles, one that comes back short shrinks to what came; an empty one is polled for.
// A thread serves one direction: THREADS is 2.
#include "tun.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES 256
#define PACKET 2048
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

struct ring {
  int fd;
  unsigned *sq_tail, *sq_array, *cq_head, *cq_tail, sq_mask, cq_mask;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  unsigned tail, submitted;
};

static void *map(int fd, size_t bytes, uint64_t offset) {
  void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (at == MAP_FAILED) err(1, "mmap io_uring");
  return at;
}

static void open_ring(struct ring *ring, const int *files, unsigned count) {
  struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
  ring->fd = syscall(SYS_io_uring_setup, ENTRIES, &p);
  if (ring->fd < 0) err(1, "io_uring_setup");
  uint8_t *sq = map(ring->fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  uint8_t *cq = map(ring->fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
  ring->sqes = map(ring->fd, p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
  ring->sq_tail = (unsigned *)(sq + p.sq_off.tail);
  ring->sq_array = (unsigned *)(sq + p.sq_off.array);
  ring->sq_mask = *(unsigned *)(sq + p.sq_off.ring_mask);
  ring->cq_head = (unsigned *)(cq + p.cq_off.head);
  ring->cq_tail = (unsigned *)(cq + p.cq_off.tail);
  ring->cq_mask = *(unsigned *)(cq + p.cq_off.ring_mask);
  ring->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
  for (unsigned i = 0; i < p.sq_entries; i++) ring->sq_array[i] = i;
  if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_FILES, files, count)) err(1, "register files");
}

static struct io_uring_sqe *push(struct ring *ring, int opcode, int file, uint64_t data) {
  struct io_uring_sqe *sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = file;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->user_data = data;
  return sqe;
}

static void enter(struct ring *ring, unsigned wait) {
  __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
  while (syscall(SYS_io_uring_enter, ring->fd, ring->tail - ring->submitted, wait, IORING_ENTER_GETEVENTS, 0, 0) < 0)
    if (errno != EINTR) err(1, "io_uring_enter");
  ring->submitted = ring->tail;
}

#define WRITTEN BURST
#define POLLED (BURST + 1)

static void *loop(void *argument) {
  struct way *way = argument;
  static __thread uint8_t packets[2][BURST][PACKET];
  struct ring ring = {0};
  open_ring(&ring, (int[]){way->in, way->out}, 2);
  // Packets are read into one half while those of the other are written.
  unsigned burst = 4, writes = 0;
  for (int half = 0;; half ^= 1) {
    for (unsigned i = 0; i < burst; i++) {
      struct io_uring_sqe *sqe = push(&ring, IORING_OP_READ, 0, i);
      sqe->addr = (uint64_t)packets[half][i];
      sqe->len = PACKET;
      sqe->rw_flags = RWF_NOWAIT;
    }
    enter(&ring, burst + writes);
    unsigned got = 0, head = *ring.cq_head;
    writes = 0;
    for (; head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE); head++) {
      struct io_uring_cqe *cqe = &ring.cqes[head & ring.cq_mask];
      if (cqe->user_data >= BURST || cqe->res < 20) continue;
      uint8_t *packet = packets[half][cqe->user_data];
      one_hop(packet);
      struct io_uring_sqe *sqe = push(&ring, IORING_OP_WRITE, 1, WRITTEN);
      sqe->addr = (uint64_t)packet;
      sqe->len = cqe->res;
      got++, writes++;
    }
    __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
    if (got == burst) {
      burst = burst * 2 < BURST ? burst * 2 : BURST;
    } else if (got > 0) {
      burst = got;
    } else {
      push(&ring, IORING_OP_POLL_ADD, 0, POLLED)->poll32_events = POLLIN;
      enter(&ring, 1);
      burst = 4;
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 7 || atoi(argv[6]) != 2) errx(2, "usage: forward-uring " USAGE "; THREADS is 2");
  start_threads(argv, 0, NULL, 1, loop);
}
