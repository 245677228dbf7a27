/**
 * Which mandatory prefix a line asks for. Plain constants, because AssemblyScript reads this file too.
 */
export const PREFIX_ANY = 0;
export const PREFIX_NONE = 1;
export const PREFIX_66 = 2;
export const PREFIX_F3 = 3;
export const PREFIX_F2 = 4;
/** Neither F2 nor F3. */
export const PREFIX_NOREP = 5;
