/* Upper-cases the ASCII letters of its input. A WASI command: a plain C program. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads all of stdin, however long, into a buffer that doubles when it is full. */
static char *read_all(size_t *len) {
  size_t capacity = 65536;
  char *text = malloc(capacity);
  *len = 0;
  while (text != NULL) {
    *len += fread(text + *len, 1, capacity - *len, stdin);
    if (*len < capacity) break;
    char *longer = realloc(text, capacity *= 2);
    if (longer == NULL) free(text);
    text = longer;
  }
  return text;
}

/* isspace and toupper would ask the locale; these are the C locale's answers. */
static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static char upper(char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; }

static int is_fail(const char *text, size_t len) {
  while (len > 0 && is_space(*text)) text++, len--;
  while (len > 0 && is_space(text[len - 1])) len--;
  return len == 4 && memcmp(text, "fail", 4) == 0;
}

int main(void) {
  size_t len;
  char *text = read_all(&len);
  if (text == NULL) {
    fputs("upper: out of memory\n", stderr);
    return 1;
  }
  if (is_fail(text, len)) {
    fputs("upper: asked to fail\nupper: giving up\n", stderr);
    return 3;
  }
  for (size_t i = 0; i < len; i++) text[i] = upper(text[i]);
  return fwrite(text, 1, len, stdout) == len ? 0 : 1;
}
