/* SHA-256, as FIPS 180-4 has it: of one message at a time, which comes in pieces. */

#include <stddef.h>
#include <stdint.h>

typedef struct { uint32_t sum[8]; uint8_t block[64]; uint64_t length; } Sha256;

static inline uint32_t rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void sha256_block(Sha256 *hash) {
  /* The first bits of the fractions of the cube roots of the first primes. */
  static const uint32_t rounds[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
      0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
      0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
      0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
      0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
      0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++) {
    const uint8_t *at = hash->block + 4 * i;
    w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  for (int i = 0; i < 8; i++) v[i] = hash->sum[i];
  for (int i = 0; i < 64; i++) {
    uint32_t s1 = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25);
    uint32_t one = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + rounds[i] + w[i];
    uint32_t s0 = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22);
    uint32_t two = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    for (int j = 7; j > 0; j--) v[j] = v[j - 1];
    v[4] += one;
    v[0] = one + two;
  }
  for (int i = 0; i < 8; i++) hash->sum[i] += v[i];
}

static void sha256_begin(Sha256 *hash) {
  /* The same of square roots. */
  static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (int i = 0; i < 8; i++) hash->sum[i] = first[i];
  hash->length = 0;
}

static void sha256_add(Sha256 *hash, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    hash->block[hash->length++ % 64] = bytes[i];
    if (hash->length % 64 == 0) sha256_block(hash);
  }
}

/* A bit, zeros, and the length in bits, which end a block. */
static void sha256_end(Sha256 *hash, char hex[64]) {
  uint64_t bits = hash->length * 8;
  uint8_t byte = 0x80;
  do sha256_add(hash, &byte, 1), byte = 0; while (hash->length % 64 != 56);
  for (int shift = 56; shift >= 0; shift -= 8) byte = (uint8_t)(bits >> shift), sha256_add(hash, &byte, 1);
  for (int i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[hash->sum[i / 8] >> (28 - 4 * (i % 8)) & 15];
}
