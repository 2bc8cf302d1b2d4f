import { meta } from "../api";

const ROLES = ["viewer", "operator", "approver", "admin"];

/** Whether who is signed in has this role, or one that includes it. */
export const hasRole = (role: string): boolean => ROLES.indexOf(meta("role")) >= ROLES.indexOf(role);
