// The program of guests/upper, as a component.
#include "../../upper/c/upper.c"
