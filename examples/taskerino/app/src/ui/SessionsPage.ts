export const SessionsPage = "Sessions"
