/* Floating point of the compute group. -ffp-contract=off keeps the checksums the same on every machine. */
#include "workloads.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t bitsOf(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

enum { BODY_COUNT = 5 };
/* Sun, Jupiter, Saturn, Uranus, Neptune: astronomical units, years, and masses times 4 pi^2. */
static const struct body {
  double x, y, z, vx, vy, vz, mass;
} START[BODY_COUNT] = {
  { 0, 0, 0, 0, 0, 0, 39.47841760435743 },
  { 4.84143144246472090, -1.16032004402742839, -.103622044471123109, .606326392995832, 2.81198684491626, -.02521836165988763,
    .03769367487038949 },
  { 8.34336671824457987, 4.12479856412430479, -.403523417114321381, -1.01077434617879, 1.82566237123041, .008415761376584154,
    .01128632613196877 },
  { 12.8943695621391310, -15.1111514016986312, -.223307578892655734, 1.08279100644154, .868713018169608, -.010832637401363636,
    .0017237240570597112 },
  { 15.3796971148509165, -25.9193146099879641, .179258772950371181, .979090732243898, .594698998647676, -.034755955504078104,
    .0020336868699246304 },
};

/* Scalar double with a square root and a division for each pair. */
uint64_t run_nbody(void) {
  const double step = .01;
  struct body bodies[BODY_COUNT];
  memcpy(bodies, START, sizeof bodies);
  for (long n = scaled(500000); n; n--) {
    for (int i = 0; i < BODY_COUNT; i++) {
      for (int k = i + 1; k < BODY_COUNT; k++) {
        struct body *a = &bodies[i], *b = &bodies[k];
        double x = a->x - b->x, y = a->y - b->y, z = a->z - b->z;
        double square = x * x + y * y + z * z, pull = step / (square * sqrt(square));
        a->vx -= x * b->mass * pull;
        a->vy -= y * b->mass * pull;
        a->vz -= z * b->mass * pull;
        b->vx += x * a->mass * pull;
        b->vy += y * a->mass * pull;
        b->vz += z * a->mass * pull;
      }
    }
    for (int i = 0; i < BODY_COUNT; i++) {
      bodies[i].x += step * bodies[i].vx;
      bodies[i].y += step * bodies[i].vy;
      bodies[i].z += step * bodies[i].vz;
    }
  }
  return bitsOf(bodies[0].x + bodies[1].y);
}

/* Packed double: mulpd and addpd. */
__attribute__((optimize("O3"))) uint64_t run_matmul(void) {
  enum { SIZE = 256 };
  double *a = need(SIZE * SIZE * sizeof *a), *b = need(SIZE * SIZE * sizeof *b), *c = need(SIZE * SIZE * sizeof *c), sum = 0;
  for (int i = 0; i < SIZE * SIZE; i++) {
    a[i] = i % 7 - 3;
    b[i] = i % 5 - 1.5;
    c[i] = 0;
  }
  for (long n = scaled(8); n; n--) {
    for (int row = 0; row < SIZE; row++) {
      for (int k = 0; k < SIZE; k++) {
        double factor = a[row * SIZE + k];
        for (int column = 0; column < SIZE; column++) c[row * SIZE + column] += factor * b[k * SIZE + column];
      }
    }
  }
  for (int i = 0; i < SIZE * SIZE; i++) sum += c[i] * (i % 3);
  free(a);
  free(b);
  free(c);
  return bitsOf(sum);
}

/* Scalar double in a tight loop, whose end depends on the data. */
uint64_t run_mandel(void) {
  const int width = 320, limit = scaled(600);
  uint64_t steps = 0;
  for (int row = 0; row < width; row++) {
    for (int column = 0; column < width; column++) {
      double startReal = 3. * column / width - 2.2, startImaginary = 2.5 * row / width - 1.25, real = 0, imaginary = 0;
      int k = 0;
      while (k < limit && real * real + imaginary * imaginary < 4) {
        double next = real * real - imaginary * imaginary + startReal;
        imaginary = 2 * real * imaginary + startImaginary;
        real = next;
        k++;
      }
      steps += k;
    }
  }
  return steps;
}

/* long double: 80-bit loads, stores and arithmetic. */
uint64_t run_x87(void) {
  long double sum = 0, x = .001L;
  for (long n = scaled(2e6); n; n--) {
    long double y = x * x;
    sum += x * (1 - y / 6 * (1 - y / 20 * (1 - y / 42)));
    x += .000003L;
    if (x > 1) x -= 1;
  }
  return (uint64_t)(sum * 1e12L);
}

/* Packed single: conversions from and to integers, and compares. */
__attribute__((optimize("O3"))) uint64_t run_cvt(void) {
  enum { COUNT = 4096 };
  static float singles[COUNT];
  static int integers[COUNT];
  uint64_t checksum = 0;
  for (int i = 0; i < COUNT; i++) integers[i] = i * 7919 - 12345678;
  for (long n = scaled(8000); n; n--) {
    for (int i = 0; i < COUNT; i++) singles[i] = (float)integers[i] * .5f + singles[i] * .25f;
    for (int i = 0; i < COUNT; i++) integers[i] = (int)singles[i] + (singles[i] < 0 ? 3 : -5);
    checksum += integers[n & (COUNT - 1)];
  }
  return checksum;
}
