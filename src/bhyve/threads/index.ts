/** The door of bhyve/threads: apart from bhyve's own, so that a program can start threads before it loads the rest. */
export { startThreadsAhead, takeThread } from './ahead.ts';
export { giveWay, v8WorkersGiveWay } from './background.ts';
