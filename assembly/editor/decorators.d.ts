// What the type checker wants of @inline and @unmanaged; AssemblyScript's own library does not declare it.
interface ClassDecoratorContext {
  readonly kind: string;
}
interface ClassFieldDecoratorContext {
  readonly kind: string;
}
interface ClassGetterDecoratorContext {
  readonly kind: string;
}
interface ClassMethodDecoratorContext {
  readonly kind: string;
}
interface ClassSetterDecoratorContext {
  readonly kind: string;
}
