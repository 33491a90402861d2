/* SPDX-License-Identifier: Apache-2.0 */
/* A bare Cortex-M under QEMU: vector table, start-up, and the system calls of newlib that a self-test needs, by semihosting. */
#include <stddef.h>
#include <stdint.h>

int main(void);
void mps_start(void);
int _write(int file, const char *text, int count);
int _read(int file, char *text, int count);
int _close(int file);
int _lseek(int file, int offset, int from);
int _fstat(int file, void *status);
int _isatty(int file);
void *_sbrk(ptrdiff_t more);
void _exit(int status);
int _kill(int process, int signal);
int _getpid(void);

extern uint32_t stack_top, data_stored, data_start, data_end, bss_start, bss_end;

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, FAULT = 99, SYSTEM_EXCEPTIONS = 16 };

static void ask_host(uint32_t operation, const void *argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

__attribute__((noreturn)) static void stop(uint32_t status) {
  const uint32_t report[2] = {APPLICATION_EXIT, status};
  ask_host(SYS_EXIT_EXTENDED, report);
  for (;;) {
  }
}

static void fault(void) {
  ask_host(SYS_WRITE0, "the processor took a fault\n");
  stop(FAULT);
}

void mps_start(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit, which printf may touch, and with it the vectors of MVE */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
#if !defined(__ARM_FEATURE_UNALIGNED)
  *(volatile uint32_t *)0xE000ED14u |= 1u << 3; /* CCR: the Cortex-M3 that stands in for a Cortex-M0 faults on unaligned accesses too */
#endif
  const uint32_t *from = &data_stored;
  for (uint32_t *to = &data_start; to != &data_end;) *to++ = *from++;
  for (uint32_t *to = &bss_start; to != &bss_end;) *to++ = 0;
  stop((uint32_t)main());
}

__attribute__((section(".start"), used)) static const void *const vectors[SYSTEM_EXCEPTIONS] = {
    &stack_top,          (const void *)mps_start, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault,     (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault,     (const void *)fault, (const void *)fault};

int _write(int file, const char *text, int count) {
  char line[65];
  (void)file;
  for (int done = 0; done < count;) {
    int length = 0;
    while (length < 64 && done < count) line[length++] = text[done++];
    line[length] = 0;
    ask_host(SYS_WRITE0, line);
  }
  return count;
}

void *_sbrk(ptrdiff_t more) {
  static char heap[16384];
  static ptrdiff_t used;
  if (more < 0 || used + more > (ptrdiff_t)sizeof heap) return (void *)-1;
  used += more;
  return heap + used - more;
}

int _read(int file, char *text, int count) { return (void)file, (void)text, (void)count, 0; }
int _close(int file) { return (void)file, -1; }
int _lseek(int file, int offset, int from) { return (void)file, (void)offset, (void)from, 0; }
int _fstat(int file, void *status) { return (void)file, (void)status, -1; }
int _isatty(int file) { return (void)file, 1; }
int _kill(int process, int signal) { return (void)process, (void)signal, -1; }
int _getpid(void) { return 1; }
void _exit(int status) { stop((uint32_t)status); }
