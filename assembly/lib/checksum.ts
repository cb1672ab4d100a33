// placeholder
export function todo(): void {}
