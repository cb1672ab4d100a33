// The trees of bench/peers/rules.h against going through all rules: random ones of prefixes and port ranges, packets near them.
#include "../../bench/peers/rules.h"
#include <stdio.h>

static uint64_t state = 1;
static uint32_t chance(uint32_t below) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(state >> 33) % below;
}

int main(void) {
  unsigned looked = 0, wrong = 0, matched = 0;
  for (unsigned round = 0; round < 60; round++) {
    uint32_t count = 1 + chance(round % 3 == 0 ? 12 : 1000);
    struct rule *rules = calloc(count, sizeof *rules), **list = malloc(count * sizeof *list);
    for (uint32_t i = 0; i < count; i++) {
      struct rule *rule = list[i] = &rules[i];
      rule->index = i;
      for (int key = FROM; key < KEYS; key++) {
        uint32_t last = key < FROM_PORT ? UINT32_MAX : 65535, kind = chance(4);
        uint32_t value = key < FROM_PORT ? 0x0a000000 + chance(1 << 16) * 256 : chance(65536), span = 0;
        if (kind == 0) value = 0, span = last;
        else if (key < FROM_PORT) span = (1u << chance(20)) - 1, value &= ~span;
        else if (kind == 1) span = chance(65536 - value);
        rule->low[key] = value, rule->high[key] = value + span;
      }
    }
    struct tree *tree = grow(list, count);
    for (int i = 0; i < 5000; i++, looked++) {
      const struct rule *near = &rules[chance(count)];
      uint32_t keys[KEYS];
      for (int key = 0; key < KEYS; key++)
        keys[key] = chance(8) == 0 ? chance(65536) : near->low[key] + chance(near->high[key] - near->low[key] >= 1 << 16 ? 1 << 16 : near->high[key] - near->low[key] + 1);
      const struct rule *expected = 0;
      for (uint32_t r = 0; r < count && !expected; r++)
        if (is_inside(&rules[r], keys)) expected = &rules[r];
      matched += expected != 0;
      wrong += match(tree, keys, 0) != expected;
    }
  }
  printf("%u %u %d\n", looked, wrong, matched > looked / 2);
}
