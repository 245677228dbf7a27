/**
 * The table of guests. Adding one of Debian's kernels is adding a row.
 * Runs on: any thread.
 */

export interface DebianRecipe {
  readonly name: string;
  readonly description: string;
  /** Codename of the release. */
  readonly suite: string;
  /** The package that depends on the current kernel of its kind. */
  readonly kernel: string;
  /** Look in SUITE-backports where the others do not have it. */
  readonly backports?: true;
}

/** The first one is what a plain `tshyve run` boots. */
export const DEBIAN_RECIPES: readonly DebianRecipe[] = [
  {
    name: 'debian',
    description: "Debian 12's cloud kernel (6.1) and a busybox shell",
    suite: 'bookworm',
    kernel: 'linux-image-cloud-amd64',
  },
  {
    name: 'debian:6.12',
    description: "Debian 12's newer cloud kernel (6.12)",
    suite: 'bookworm',
    kernel: 'linux-image-6.12-cloud-amd64',
    backports: true,
  },
  {
    name: 'debian:generic',
    description: "Debian 12's generic kernel (6.1), for real machines",
    suite: 'bookworm',
    kernel: 'linux-image-amd64',
  },
  { name: 'debian:13', description: "Debian 13's cloud kernel (6.12)", suite: 'trixie', kernel: 'linux-image-cloud-amd64' },
];
