/**
 * A vCPU's thread that dies, for tests of what is left of the program then.
 * Runs on: the vCPU's own thread.
 */
throw new Error('the processor fell off');
